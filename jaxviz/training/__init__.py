"""Pictures while a model trains: views of the model, and where they are written."""
