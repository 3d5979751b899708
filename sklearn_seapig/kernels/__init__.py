"""Pure torch functions: tensors in, tensors out; no validation, no scikit-learn."""
