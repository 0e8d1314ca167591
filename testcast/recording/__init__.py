"""Recording a program as a run: a command's output, or the tests of pytest."""
