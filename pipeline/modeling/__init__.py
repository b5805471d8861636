"""A name -> files -> tokenizer and model, and a model that reads packed batches."""
