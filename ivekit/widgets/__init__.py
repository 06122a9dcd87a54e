"""Live latents: what a model tells, redrawn while sliders turn; in a notebook, or in one page without Python."""
