"""The Trainer: optimizer, schedule, loss; checkpoints that resume bit for bit."""
