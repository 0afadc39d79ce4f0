"""One encoder into tasks: fine-tuning, evaluation, proof of loading."""
