// What memory takes on the disk, and what it takes to put it there and to fetch it, by the gibibyte.
#include "../interrupt.hpp"
#include "../loads.hpp"
#include "../rows.hpp"

namespace bench {
namespace {

constexpr double kImageMiB = 1 << 20, kMiBInGiB = 1024;
constexpr std::chrono::milliseconds kBetweenImages{400};

// Records as programs hold them: keys that repeat, values that do not.
Load records(int mb) {
    return {"records",
            "records in Python",
            {"/usr/bin/python3", "-u", "-c",
             "import hashlib\nblob = bytearray()\ni = 0\nwhile len(blob) < " + std::to_string(mb) +
                 " << 20:\n    h = hashlib.md5(b'%d' % i).hexdigest()\n"
                 "    blob += b'{\"id\": %d, \"name\": \"user-%s\", \"active\": true, \"groups\": "
                 "[\"staff\", \"build\"]}\\n' % (i, h[:8].encode())\n"
                 "    i += 1\nprint(1)\nimport time\ntime.sleep(1e6)"}};
}

struct Setting {
    char const* name;
    char const* compression;
};

}  // namespace

void measure_images(Lab& lab) {
    int const mb = lab.options().quick ? 32 : 512, n = std::min(lab.count(2), 10);
    lab.close_server();  // its memory and its disk
    for (auto const& setting : {Setting{"as it is", "none"}, Setting{"compressed", "zstd"}}) {
        ServeOptions options;
        options.ready = options.awake = 1;
        options.more = std::string("hibernation:\n    compression: ") + setting.compression + "\n";
        auto const server = lab.own_server(options);
        auto const client = server->connect();
        for (auto const& load : {random_memory(mb), records(mb)}) {
            auto const w = begin(*client, load);
            base::Json const which = {{"workspace_id", w.id()}};
            Samples disk, hibernate, wake;
            for (int i = 0; i < n; ++i) {
                pause(kBetweenImages);
                auto const slept = client->call("workspace_hibernate", which);
                pause(kBetweenImages);
                auto const taken = static_cast<double>(server->counter("berth_image_bytes "));    // none else sleeps
                auto const woken = client->call("workspace_wake", which);
                if (woken.structured().at("fidelity") != "memory")
                    throw Failure(load.what + " lost its memory");
                auto const share = kMiBInGiB / mb;
                disk.add(taken / kImageMiB * share);
                hibernate.add(milliseconds_of(slept.took) * share);
                wake.add(milliseconds_of(woken.took) * share);
            }
            bool const random = load.name != "records";
            auto const what =
                std::string(random ? "random bytes" : "records") + ", " + setting.name + ", a GiB ";
            auto const row = std::string("images/") + (random ? "random" : "records");
            lab.report().add(row, what + "on disk", "MiB", disk);
            lab.report().add(row, what + "to disk", "ms", hibernate);
            lab.report().add(row, what + "from disk", "ms", wake);
        }
    }
    lab.report().note("images: Python with " + std::to_string(mb) +
                      " MiB, scaled to a GiB; random bytes do not get smaller");
}

}  // namespace bench
