# The app for a class, on a CPU: docker build -t pdc-app . && docker run -p 7860:7860 -v pdc-runs:/runs pdc-app
# Where it runs elsewhere (a Hugging Face Space, a server behind a proxy): docs/how-to/hosting.md
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app

# PyTorch's own index has builds without CUDA: 200 MB in place of several gigabytes.
COPY requirements.txt ./
RUN pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu && pip install -r requirements.txt

COPY pyproject.toml README.md app.py ./
COPY .streamlit .streamlit
COPY pages pages
COPY ui ui
COPY pdc_core pdc_core
RUN pip install --no-deps -e . && python -m compileall -q pdc_core ui pages

# Nothing runs as root, and the user can write to the folder of the runs alone.
RUN useradd --uid 1000 --create-home pdc && mkdir /runs && chown pdc /runs
USER pdc
ENV HOME=/home/pdc PDC_RUNS=/runs PORT=7860 OMP_NUM_THREADS=1
VOLUME /runs
EXPOSE 7860

HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD python -c "import os, urllib.request as u; u.urlopen(f'http://localhost:{os.environ[\"PORT\"]}/_stcore/health', timeout=4)"

# The lecturer's PIN: docker run -e PDC_CLASS_PIN=...; if there is none, one is made up and stands in the log.
CMD exec pdc app --class --address 0.0.0.0 --port $PORT --server.headless true
