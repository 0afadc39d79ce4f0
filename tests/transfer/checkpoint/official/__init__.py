"""Names and shapes of the files that authors publish, written down from their code, at true sizes and at small ones.

No weights are downloaded. What the names mean is witnessed by timm's own converters (`checkpoint_filter_fn`), which
were written for the true files, and read nothing of ours.
"""
