"""Images on which several classes may stand: a linear support vector machine for each class on frozen features."""
