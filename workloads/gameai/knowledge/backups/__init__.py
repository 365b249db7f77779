"""Archives of a memory in a repository: a folder, or a bucket of S3. Which are kept, and what is restored."""
