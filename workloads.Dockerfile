# The image of every game service of the catalogue. Its build needs no network: `make images` puts wheels for the base's own Python beside the
# sources (wheels/) and the requirements that are meant for it (requirements.txt).
ARG BASE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE} AS build
COPY wheels /wheels
COPY requirements.txt /requirements.txt
RUN python -m venv /tools \
 && /tools/bin/pip install --quiet --disable-pip-version-check --no-index --find-links /wheels --no-deps \
    --require-hashes --no-compile --target /app --requirement /requirements.txt \
 && PYTHONPATH=/app /tools/bin/pip --disable-pip-version-check check
COPY contract/gameai_contract /app/gameai_contract
COPY workloads/gameai /app/gameai
# A read-only root file system keeps no bytecode, so it is made here; the files' times do not matter to it.
# A checkout may be readable for its owner alone.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash /app \
 && chmod -R a+rX /app

FROM ${BASE}
LABEL org.opencontainers.image.title="gameai-workloads" \
      org.opencontainers.image.description="The game services of gameai-operator." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /app /app
ENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 50051 8080
# Which service it is, a world says: python -m gameai.services.weather_manager.
ENTRYPOINT ["python"]
CMD ["-c", "import sys; sys.exit('name a service: python -m gameai.services.weather_manager')"]
