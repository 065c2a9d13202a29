//! Compiles the proto files without protoc. Requests that carry secrets get no `Debug`, so that they can't be logged.

use std::{error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let proto = PathBuf::from("../proto");
    let files = ["csi.proto", "pluginregistration.proto", "provider.proto"].map(|name| proto.join(name));
    let descriptors = protox::compile(&files, [&proto])?;
    tonic_prost_build::configure()
        .generate_default_stubs(true)
        .skip_debug([
            "csi.v1.NodePublishVolumeRequest",
            "csi.v1.NodeStageVolumeRequest",
            "csi.v1.NodeExpandVolumeRequest",
            "v1alpha1.MountRequest",
            "v1alpha1.MountResponse",
            "v1alpha1.File",
        ])
        .compile_fds(descriptors)?;
    controller_for_tests()?;
    println!("cargo:rerun-if-changed=../proto");
    Ok(())
}

/// csi-sanity makes its volumes through a controller, which inline volumes don't have: the tests play one.
fn controller_for_tests() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from("tests/proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("controller");
    std::fs::create_dir_all(&out)?;
    let descriptors = protox::compile([folder.join("controller.proto")], [&folder])?;
    tonic_prost_build::configure()
        .generate_default_stubs(true)
        .build_client(false)
        .out_dir(out)
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=tests/proto");
    Ok(())
}
