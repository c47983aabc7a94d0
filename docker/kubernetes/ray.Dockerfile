# The image of predict-job.yaml: that of the worker with Ray, its job server, and Headway installed whole.
FROM headway-worker:0.2.0
USER 0
# requirements-dev.lock has Ray's version, not those of all packages of its job server.
RUN pip install --no-cache-dir --constraint /opt/headway/requirements-dev.lock "ray[default]==2.60.0" \
    && pip install --no-cache-dir --no-deps --no-build-isolation /opt/headway \
    && pip check
WORKDIR /opt/headway
USER 1000
