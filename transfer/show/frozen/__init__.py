"""What a frozen encoder sees without a head: the training images nearest to a test image, and where it attends."""
