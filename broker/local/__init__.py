"""What runs on this machine: the embedded broker, child processes, the system's resolver."""
