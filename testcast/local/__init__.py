"""What runs and checks on this machine: the stack of processes behind `demo` and `up`, and the doctor."""
