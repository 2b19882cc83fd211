# syntax=docker/dockerfile:1
# The program in an image, for the CPU or, with the driver of its host, for NVIDIA's GPUs (Ampere or later, driver 530 or later):
#
#     docker build --tag ckaad .
#     docker build --tag ckaad:cuda --build-arg FOR=cuda .
#     docker run --rm -p 8080:8080 -v "$PWD/models:/models:ro" -e CKAAD_TOKEN ckaad
#     docker run --rm --gpus all -p 8080:8080 -v "$PWD/models:/models:ro" -e CKAAD_TOKEN ckaad:cuda
#     docker run --rm --init --no-healthcheck --user "$(id -u)" -v "$PWD:/data" ckaad watch --model part.safetensors --out lines.jsonl incoming
ARG RUST=1.95
ARG CUDA=12.9.1
ARG FOR=cpu

FROM rust:${RUST}-slim-bookworm AS build
WORKDIR /build
COPY . .
# What cargo keeps between builds stays outside of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin ckaad && \
    install -D target/release/ckaad /image/usr/local/bin/ckaad
RUN install -D --mode=644 --target-directory=/image/usr/local/share/doc/ckaad LICENSE-* && \
    install --directory --owner=10001 --group=10001 /image/cache /image/data

FROM debian:bookworm-slim AS for-cpu

# Of CUDA nothing but the driver is needed, which the host's container toolkit brings in.
FROM nvidia/cuda:${CUDA}-base-ubuntu24.04 AS for-cuda
# That image asks for a driver as new as its own libraries, none of which is used here: the toolkit would refuse the older ones.
ENV NVIDIA_REQUIRE_CUDA="cuda>=12.1"

# hadolint ignore=DL3006
FROM for-${FOR}
COPY --from=build /image/ /
# Nothing of the image belongs to it but these folders: weights and what was tuned, and a place to work in.
USER 10001:10001
ENV HOME=/data CKAAD_CACHE=/cache
VOLUME /cache
WORKDIR /data
EXPOSE 8080
# Of `serve`, without a program for it: its models are ready.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /v2/health/ready HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ code _ <&3 && [ \"$code\" = 200 ]"]
ENTRYPOINT ["ckaad"]
CMD ["serve", "--models", "/models", "--listen", "0.0.0.0:8080"]
