"""What a process stands on: waiting, locks, forks, servers, sockets."""
