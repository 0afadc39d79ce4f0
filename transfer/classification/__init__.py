"""Image classification: fine-tuning, linear and attentive probes, nearest neighbours."""
