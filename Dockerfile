# Builds the service with its two models, current and phone: docker build -t seefood .
# Other flavours: --build-arg FLAVOUR=cuda (onnxruntime-gpu and NVIDIA's libraries) or FLAVOUR=train (torch).
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG FLAVOUR=service
WORKDIR /build
RUN python -P -m venv --without-pip /opt/seefood
# Only wheels whose hash is in the lock: every build installs the same files and compiles nothing.
COPY deploy/locks/build.txt deploy/locks/${FLAVOUR}.txt ./
RUN pip install --no-cache-dir --require-hashes --only-binary :all: --target /opt/build --requirement build.txt \
    && pip --python /opt/seefood/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
        --requirement ${FLAVOUR}.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY service service
COPY scoring scoring
COPY training training
COPY models models
RUN PYTHONPATH=/opt/build pip --python /opt/seefood/bin/python install --no-cache-dir --no-deps --no-build-isolation .
# The image contains only the model files that it serves; browsers get the phone model in float32. A registry mounted at /models replaces them.
RUN set -e; mkdir -p /image/models /image/feedback; \
    for pointer in models/current models/phone; do \
        [ -f "$pointer" ] || continue; \
        version=$(cat "$pointer"); mkdir -p "/image/models/$version"; \
        cp "$pointer" /image/models/; cp "models/$version/model.int8.onnx" "/image/models/$version/"; \
        if [ ${FLAVOUR} = cuda ] || [ "$pointer" = models/phone ]; then \
            cp "models/$version/model.onnx" "/image/models/$version/"; \
        fi; \
    done; \
    chown 10001:10001 /image/feedback

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/seefood /opt/seefood
# A named volume mounted at /feedback gets the owner of this folder.
COPY --from=build /image /
ENV PATH=/opt/seefood/bin:${PATH} \
    SEEFOOD_HOST=0.0.0.0 \
    SEEFOOD_MODELS=/models
USER 10001:10001
EXPOSE 8000
# `seefood serve` replaces itself with gunicorn, so gunicorn is process 1: it gets the signals and reaps child processes.
ENTRYPOINT ["seefood"]
CMD ["serve"]
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s --retries=3 CMD ["python", "-P", "-m", "service.healthcheck"]
