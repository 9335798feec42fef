"""No file in the home folder; versions that do not know the setting pass over it."""

control_socket_disable = True
