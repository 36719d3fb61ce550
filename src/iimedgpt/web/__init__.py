"""The pages people use: ranking answers, comparing models, agreement. FastAPI, no build step, no torch."""
