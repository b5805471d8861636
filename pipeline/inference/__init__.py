"""Use of a fine-tuned model: labels for texts and files, the demo's page, ONNX."""
