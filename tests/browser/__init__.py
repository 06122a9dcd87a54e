"""A person's hands and eyes for the tests: Chromium, a JupyterLab, and what is done and seen in them."""
