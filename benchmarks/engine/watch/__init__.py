"""What is observed while a training runs: numbers of steps, log lines, progress, time, requests to stop."""
