# The image of the program, for those who publish it: docker build -t REGISTRY/machinectl:VERSION .
# On a machine where the program is, `machinectl util image` makes the same without Docker (docs/images.md).
FROM rust:1-slim AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked && ! ldd target/release/machinectl 2>/dev/null | grep -q /lib

FROM scratch
COPY --from=build /src/target/release/machinectl /machinectl
# Nobody's, as in images without a shell.
USER 65532:65532
ENV PATH=/
ENTRYPOINT ["/machinectl"]
CMD ["run"]
