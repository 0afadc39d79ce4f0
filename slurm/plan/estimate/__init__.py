"""What a training costs by arithmetic, where nothing has measured it: operations, memory, time, each as a span."""
