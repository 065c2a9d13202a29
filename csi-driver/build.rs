//! Compiles the proto files without protoc. Requests that carry secrets get no `Debug`, so that they can't be logged.

use std::{error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let proto = PathBuf::from("../proto");
    let files = [proto.join("csi.proto"), proto.join("pluginregistration.proto")];
    let descriptors = protox::compile(&files, [&proto])?;
    tonic_prost_build::configure()
        .generate_default_stubs(true)
        .skip_debug([
            "csi.v1.NodePublishVolumeRequest",
            "csi.v1.NodeStageVolumeRequest",
            "csi.v1.NodeExpandVolumeRequest",
        ])
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=../proto");
    Ok(())
}
