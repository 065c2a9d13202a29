//! The handshake with kubelet.

use holdfast_csi::proto::{
    csi::{ProbeRequest, identity_client::IdentityClient},
    registration::{InfoRequest, RegistrationStatus, registration_client::RegistrationClient},
};

use crate::node::{Node, connect};

#[tokio::test]
async fn kubelet_learns_who_the_driver_is_and_the_driver_that_it_is_registered() {
    let node = Node::start().await;
    let mut kubelet = RegistrationClient::new(connect(&node.registry_socket()).await);
    let info = kubelet.get_info(InfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.r#type.as_str(), info.name.as_str()), ("CSIPlugin", "csi.holdfast.dev"));
    assert_eq!(info.endpoint, node.csi_socket().to_str().unwrap());
    assert_eq!(info.supported_versions, ["1.0.0"]);
    let told = RegistrationStatus { plugin_registered: true, error: String::new() };
    kubelet.notify_registration_status(told).await.unwrap();
    node.until("readiness", || node.log().contains("kubelet has registered the driver")).await;
    // A kubelet that restarts asks again, on the same socket.
    kubelet.get_info(InfoRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_refused_driver_ends_with_an_error() {
    let mut node = Node::start().await;
    let mut kubelet = RegistrationClient::new(connect(&node.registry_socket()).await);
    let told = RegistrationStatus { plugin_registered: false, error: "no such version".to_owned() };
    // It ends at once, maybe before its answer is out.
    let _ = kubelet.notify_registration_status(told).await;
    for _ in 0..500 {
        if let Some(status) = node.driver_ended() {
            assert_eq!(status.code(), Some(1));
            assert!(node.log().contains("no such version"));
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the driver still runs");
}

#[tokio::test]
async fn a_registration_socket_that_goes_comes_back() {
    let node = Node::start().await;
    std::fs::remove_file(node.registry_socket()).unwrap();
    node.until("a new socket", || node.registry_socket().exists()).await;
    let mut kubelet = RegistrationClient::new(connect(&node.registry_socket()).await);
    kubelet.get_info(InfoRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_probe_is_ready_only_while_the_mounter_answers_and_the_state_can_be_read() {
    let mut node = Node::start().await;
    let ready = async |node: &Node| {
        let mut client = IdentityClient::new(connect(&node.csi_socket()).await);
        client.probe(ProbeRequest {}).await.unwrap().into_inner().ready
    };
    assert_eq!(ready(&node).await, Some(true));
    node.kill_mounter();
    assert_eq!(ready(&node).await, Some(false));
    node.start_mounter();
    while ready(&node).await != Some(true) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    std::fs::rename(node.state_dir().join("releases"), node.folder().join("elsewhere")).unwrap();
    assert_eq!(ready(&node).await, Some(false));
    assert!(node.log().contains("not ready reason=\"state folder: "), "{}", node.log());
}
