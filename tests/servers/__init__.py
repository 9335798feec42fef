"""Real servers, real sockets. Faults are made at the client's end."""
