"""The stages: plain processes that need neither Prefect nor a server."""
