# The environment, the book's sources and JupyterLab in one container:
#   docker build -t enhancelib . && docker run -p 8888:8888 enhancelib
FROM python:3.11-slim-bookworm
# PyTorch's wheels without CUDA; empty takes pip's own, which bring gigabytes of it.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN apt-get update && apt-get install -y --no-install-recommends make chromium && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home reader && install -d -o reader /home/reader/enhancelib
USER reader
WORKDIR /home/reader/enhancelib
COPY --chown=reader . .
RUN make environment TORCH_INDEX=$TORCH_INDEX
EXPOSE 8888
CMD [".venv/bin/jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]
