#!/bin/bash
# Starts a node of `cargo xtask e2e`: copies the root from the guest's memory to its disk, then starts containerd and the kubelet.
# NODE is the node's number, NODES the number of nodes, PROXY the program that serves Services, TASK the task.
set -eu

if [ "${1-}" != on-disk ]; then
    modprobe -a virtio_blk ext4
    until [ -b /dev/vda ]; do sleep 0.1; done
    mkdir /node
    mount -t ext4 /dev/vda /node
    cp -a /lab/node/. /node/
    for each in dev proc sys; do mount -o rbind /$each /node/$each; done
    # Move it over the root, because programs that enter a container's namespaces start from the root of those.
    cd /node
    mount -o move . /
    exec chroot . /bin/bash /node.sh on-disk
fi

address() { echo "10.0.2.$((14 + $1))"; }
mount --make-rshared /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
# From here on the kubelet handles memory shortage.
echo 0 > /proc/sys/vm/panic_on_oom
modprobe -a overlay br_netfilter
sysctl -q -w net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1

echo "starting containerd"
containerd --config /etc/containerd/config.toml > /var/log/containerd.log 2>&1 &
containerd=$!
until ctr version > /tmp/version 2>&1; do
    kill -0 $containerd || { tail -n 20 /var/log/containerd.log; exit 1; }
    sleep 0.5
done
for archive in /images/*.tar; do
    [ -f "$archive" ] || continue
    echo "importing $archive"
    ctr --namespace k8s.io images import --local "$archive"
    rm "$archive"
done

if [ "$TASK" = prepare ]; then
    kill $containerd
    wait $containerd || true
    umount /run /tmp
    sync
    # Flush everything to the disk before the machine is switched off.
    mount -o remount,ro /
    exit
fi

hostname "node$NODE"
ip address add "$(address "$NODE")/24" dev eth0
ip route add default via 10.0.2.2
for other in $(seq "$NODES"); do
    [ "$other" = "$NODE" ] || ip route add "10.244.$other.0/24" via "$(address "$other")"
done
sed -i "s/POD_NETWORK/10.244.$NODE.0\/24/" /etc/cni/net.d/pods.conflist
# The host uses this to query the node's state.
socat -t 120 "TCP-LISTEN:7777,bind=$(address "$NODE"),fork,reuseaddr" EXEC:/bin/bash,stderr &
# kube-proxy would be restarted until the network plugin has loaded this module.
[ "$PROXY" = kube-proxy ] && modprobe nf_conntrack
echo "starting the kubelet"
until [ -e /run/stop ]; do
    kubelet --config=/etc/kubernetes/kubelet.yaml --kubeconfig=/etc/kubernetes/kubelet.conf \
        --hostname-override="node$NODE" --node-ip="$(address "$NODE")" &
    echo $! > /run/kubelet.pid
    wait $! || echo "the kubelet exited: $?"
    sleep 1
done &
# The node stops when any of these programs exits.
wait -n || true
tail -n 20 /var/log/*.log
exit 1
