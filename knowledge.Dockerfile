
# After workloads.Dockerfile: the memory of knowledge bases, with what requirements/knowledge.txt adds.
LABEL org.opencontainers.image.title="gameai-knowledge" \
      org.opencontainers.image.description="The memory of worlds, of gameai-operator."
ENTRYPOINT ["python", "-m", "gameai.knowledge"]
CMD ["--help"]
