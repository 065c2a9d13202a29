#!/bin/bash
# Builds a kind node image without pulling any image: Debian by debootstrap, Kubernetes, etcd and CoreDNS from their Go modules.
# use: node-image.sh OUT.tar.gz        (root; Docker running; about 10 min cold on two cores, results cached in $CACHE)
set -euo pipefail
OUT=$1; HERE=$(cd "$(dirname "$0")" && pwd); . "$HERE/env.sh"
K8S=$KUBERNETES REPO=localhost
mkdir -p "$CACHE"/{bin,img}; export CGO_ENABLED=0 GOFLAGS=-buildvcs=false
V=k8s.io/component-base/version
step "binaries"
[ -x "$CACHE/bin/kubernetes" ] || (cd "$HERE/kubernetes" && go build -ldflags "-s -w -X $V.gitVersion=$K8S -X $V.gitMajor=1 -X $V.gitMinor=35 -X $V.gitTreeState=clean" -o "$CACHE/bin/kubernetes" .)
[ -x "$CACHE/bin/coredns" ] || (cd "$HERE/coredns" && go build -ldflags "-s -w" -o "$CACHE/bin/coredns" .)
[ -x "$CACHE/bin/etcd" ] || (cd "$HERE/etcd" && go build -ldflags "-s -w" -o "$CACHE/bin/etcd" .)
step "root file system"
R=$CACHE/rootfs
if [ ! -e "$R/.done" ]; then
  rm -rf "$R"
  debootstrap --variant=minbase --include=systemd,conntrack,iptables,nftables,ipset,iproute2,ethtool,util-linux,mount,kmod,libseccomp2,e2fsprogs,bash,ca-certificates,curl,jq,procps,containerd,runc,containernetworking-plugins,hostname trixie "$R" >"$CACHE/debootstrap.log" 2>&1
  rm -rf "$R"/var/cache/apt/* "$R"/var/lib/apt/lists/* "$R"/usr/share/{doc,man,locale}/*
  touch "$R/.done"
fi
step "control-plane images"
# One image serves the four components; kube-proxy needs iptables and libc, so its layer comes from the root file system.
tree() { rm -rf "$CACHE/img/$1"; mkdir -p "$CACHE/img/$1"; }
archive() { # NAME ENTRYPOINT-JSON TAG…: the tree as a one-layer image archive
  python3 - "$CACHE/img/$1.tar" "$CACHE/img/$1" "${@:2}" <<'PY'
import hashlib, io, json, subprocess, sys, tarfile
out, tree, entrypoint, *tags = sys.argv[1:]
layer = subprocess.check_output(["tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-C", tree, "-cf", "-", "."])
digest = hashlib.sha256(layer).hexdigest()
config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]},
    "config": {"Entrypoint": json.loads(entrypoint) or None, "Env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}}).encode()
name = hashlib.sha256(config).hexdigest() + ".json"
with tarfile.open(out, "w") as archive:
    for path, data in ((name, config), (digest + "/layer.tar", layer),
                       ("manifest.json", json.dumps([{"Config": name, "RepoTags": tags, "Layers": [digest + "/layer.tar"]}]).encode())):
        info = tarfile.TarInfo(path); info.size = len(data); archive.addfile(info, io.BytesIO(data))
PY
}
tree k8s; I=$CACHE/img/k8s; mkdir -p "$I"/{usr/{bin,sbin,lib,lib64,local/bin},etc,tmp,run,root}; for d in bin sbin lib lib64; do ln -s usr/$d "$I/$d"; done
chroot "$R" sh -c 'cd /usr/sbin; set -- iptables* ip6tables* xtables-*-multi nft conntrack ipset kmod /usr/bin/kmod /etc/nsswitch.conf /etc/protocols /etc/services /usr/lib/*/xtables/*.so /usr/lib/*/libnss_*.so.2 /usr/lib/*/libresolv.so.2
  for f; do [ -e "$f" ] && readlink -f "$(dirname "$f")" | tr "\n" / && basename "$f"; done
  for f; do [ -e "$f" ] && ldd "$f" 2>/dev/null | grep -o "/[^ ]*"; done' | sort -u | while read -r f; do
  f=$(chroot "$R" readlink -f "$(dirname "$f")")/$(basename "$f"); real=$(chroot "$R" readlink -f "$f")
  mkdir -p "$I$(dirname "$real")" "$I$(dirname "$f")"; cp -a "$R$real" "$I$real"; [ "$f" = "$real" ] || ln -sf "$real" "$I$f"
done
install -m755 "$CACHE/bin/kubernetes" "$I/usr/local/bin/kubernetes"
for n in kube-apiserver kube-controller-manager kube-scheduler kube-proxy; do ln -sf kubernetes "$I/usr/local/bin/$n"; done
archive k8s null $REPO/kube-apiserver:$K8S $REPO/kube-controller-manager:$K8S $REPO/kube-scheduler:$K8S $REPO/kube-proxy:$K8S
tree etcd; install -D -m755 "$CACHE/bin/etcd" "$CACHE/img/etcd/usr/local/bin/etcd"; archive etcd null $REPO/etcd:$ETCD
tree coredns; install -D -m755 "$CACHE/bin/coredns" "$CACHE/img/coredns/coredns"; archive coredns '["/coredns"]' $REPO/coredns:$COREDNS
tree pause; (cd "$HERE/pause" && go build -ldflags "-s -w" -o "$CACHE/img/pause/pause" .); archive pause '["/pause"]' $REPO/pause:$PAUSE
step "node"
K=$(go mod download -json sigs.k8s.io/kind@$KIND | python3 -c 'import json,sys; print(json.load(sys.stdin)["Dir"])')/images/base/files
N=$CACHE/node; rm -rf "$N"; cp -a "$R" "$N"
mkdir -p "$N"/{kind/bin,kind/manifests,etc/containerd,etc/systemd/system/kubelet.service.d,etc/sysctl.d,etc/default,opt/cni/bin,etc/kubernetes/manifests,etc/cni/net.d}
install -m755 "$K/usr/local/bin/entrypoint" "$N/usr/local/bin/"; install -m755 "$K"/kind/bin/* "$N/kind/bin/"
install -m644 "$K/etc/containerd/config.toml" "$N/etc/containerd/"; install -m644 "$K/etc/default/kubelet" "$N/etc/default/"
install -m644 "$K"/etc/sysctl.d/* "$N/etc/sysctl.d/"; install -m644 "$K/etc/crictl.yaml" "$N/etc/"
install -m644 "$K"/etc/systemd/system/{containerd.service,kubelet.service,undo-mount-hacks.service,kubelet.slice} "$N/etc/systemd/system/"
install -m644 "$K"/etc/systemd/system/kubelet.service.d/* "$N/etc/systemd/system/kubelet.service.d/"
printf %s $K8S >"$N/kind/version"
sed -i "s/restrict_oom_score_adj = false/restrict_oom_score_adj = true/; /proxy_plugins/,/fuse-overlayfs.sock/d; s#\(sandbox_image\|sandbox\) = .*#\1 = \"$REPO/pause:$PAUSE\"#" "$N/etc/containerd/config.toml"
for b in containerd ctr containerd-shim-runc-v2; do ln -sf /usr/bin/$b "$N/usr/local/bin/$b"; done
for p in host-local loopback ptp portmap bridge; do ln -sf /usr/lib/cni/$p "$N/opt/cni/bin/$p"; done
install -m755 "$CACHE/bin/kubernetes" "$N/usr/bin/kubernetes"; for n in kubelet kubeadm kubectl; do ln -sf kubernetes "$N/usr/bin/$n"; done
install -m644 "$HERE/storageclass.yaml" "$N/kind/manifests/default-storage.yaml"
chroot "$N" sh -e <<'SH'
rm -f /lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service /lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/* \
  /lib/systemd/system/local-fs.target.wants/* /lib/systemd/system/sockets.target.wants/*udev* /lib/systemd/system/sockets.target.wants/*initctl* /lib/systemd/system/basic.target.wants/*
echo ReadKMsg=no >>/etc/systemd/journald.conf; ln -sf /usr/lib/systemd/systemd /sbin/init
systemctl enable kubelet.service containerd.service undo-mount-hacks.service; systemctl mask systemd-binfmt.service
/usr/local/bin/ctr oci spec | jq 'del(.process.rlimits)' >/etc/containerd/cri-base.json; test -s /etc/containerd/cri-base.json
SH
tar -C "$N" --one-file-system -c . | docker import --change 'ENV container=docker' - local/kind-base:build >/dev/null
mkdir -p "$CACHE/ctx"; printf 'FROM local/kind-base:build\nSTOPSIGNAL SIGRTMIN+3\nENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]\n' >"$CACHE/ctx/Dockerfile"
DOCKER_BUILDKIT=0 docker build -q -t local/kind-base:$K8S "$CACHE/ctx" >/dev/null
docker rm -f -v holdfast-node-build >/dev/null 2>&1 || true
docker run -d --name holdfast-node-build --entrypoint sleep --security-opt seccomp=unconfined -v "$CACHE/img:/img:ro" local/kind-base:$K8S infinity >/dev/null
docker exec -d holdfast-node-build sh -c 'containerd >/tmp/containerd.log 2>&1'
docker exec holdfast-node-build sh -ec 'for i in $(seq 100); do ctr version >/dev/null 2>&1 && break; sleep 0.1; done
  for f in k8s etcd pause coredns; do ctr -n k8s.io images import --all-platforms --no-unpack --digests /img/$f.tar; done; kill $(pidof containerd); sleep 1' >/dev/null
docker commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]' holdfast-node-build $LOCAL_NODE_IMAGE >/dev/null
docker rm -f -v holdfast-node-build >/dev/null
docker save $LOCAL_NODE_IMAGE | gzip -1 >"$OUT.part" && mv "$OUT.part" "$OUT"
step "done: $LOCAL_NODE_IMAGE, $(du -h "$OUT" | cut -f1)"
