"""The lessons: where they are, copies of them, JupyterLab on them, a run of all."""
