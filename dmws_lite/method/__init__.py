"""The method: layer selection, component mapping, element selection, and self-knowledge distillation."""
