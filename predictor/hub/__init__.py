"""Publishing on the Hugging Face hub: checkpoints without their people, data sets with labels in place of names."""
