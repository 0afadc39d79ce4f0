"""Loading an encoder with proof: what was loaded and made to fit, whether it is trained, what a witness computes."""
