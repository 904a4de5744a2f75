"""Ways to compute SHAP tensors."""
