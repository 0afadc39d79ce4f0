"""The method of SimMIM: masking, masked encoders, heads, targets and objectives."""
