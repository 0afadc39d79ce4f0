"""One pretraining: its images, its training, its export, and how it is reopened afterwards."""
