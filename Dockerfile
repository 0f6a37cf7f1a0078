# One image for every function but `archive` (VARIANT): FUNCTION_TARGET selects the function, PORT its port (Cloud Run sets it).
FROM node:22-slim AS browser
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm install --no-save --omit=dev --ignore-scripts
COPY web/widget web/widget
COPY web/reference web/reference
RUN npm run build && npm run build:reference

FROM python:3.13-slim
# `archive` for the image of the archive function, which alone has the libraries for Parquet and object stores.
ARG VARIANT=functions
WORKDIR /app
COPY requirements/${VARIANT}.txt requirements.txt
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary=:all: -r requirements.txt
COPY deploy/run.sh run.sh
COPY lib lib
COPY functions functions
COPY docs/openapi.json docs/openapi.json
COPY --from=browser /app/web/dist web/dist
# Without bytecode, each cold start compiles the sources again: the user cannot write here.
RUN python -m compileall -q lib functions
ENV HOST=0.0.0.0
USER nobody
CMD ["./run.sh"]
