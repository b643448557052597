# `captioner serve` without PyTorch; docs/service.md explains it. Build it from this folder.
FROM python:3.12-slim AS build
COPY pyproject.toml README.md LICENSE /src/
COPY captioner /src/captioner
COPY checkpoints /src/checkpoints
RUN python -m venv /opt/captioner && /opt/captioner/bin/pip install --no-cache-dir "/src[serve]"

FROM python:3.12-slim
COPY --from=build /opt/captioner /opt/captioner
ENV PATH=/opt/captioner/bin:$PATH PYTHONDONTWRITEBYTECODE=1
# Nothing is written, so any user will do: docker run --user 1000:1000
USER 65534:65534
EXPOSE 7870
HEALTHCHECK CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7870/healthz')"]
ENTRYPOINT ["captioner"]
CMD ["serve", "--host", "0.0.0.0"]
