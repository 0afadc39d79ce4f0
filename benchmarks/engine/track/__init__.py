"""Numbers of a training on record: metrics.jsonl, and the trackers that copy it (TensorBoard, W&B, MLflow)."""
