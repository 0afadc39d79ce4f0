"""Any checkpoint in, proof of transfer out: safe reading, layouts, inference, resizing, conversion."""
