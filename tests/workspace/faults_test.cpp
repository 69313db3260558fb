// Killed at every step: the server at each call that its records, volumes and images get while a workspace sleeps, wakes, is
// copied or goes back, and every sandbox at the same steps. Afterwards the workspace opens, with its memory or from its files,
// says which, and nothing is left of what was under way.
#include "world.hpp"

#include <base/files.hpp>

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

using base::Result;
using base::Task;
using namespace life_test;
namespace fs = std::filesystem;

namespace {

constexpr char const* kDirectory = "BERTH_KILLED_DIRECTORY";
constexpr char const* kWhat = "BERTH_KILLED_WHAT";
constexpr char const* kStep = "BERTH_KILLED_STEP";
constexpr char const* kInTheMiddle = "middle";

enum class Deed { hibernate, wake, snapshot, restore, fork };
constexpr std::pair<Deed, char const*> kDeeds[] = {{Deed::hibernate, "hibernate"},
                                                   {Deed::wake, "wake"},
                                                   {Deed::snapshot, "snapshot"},
                                                   {Deed::restore, "restore"},
                                                   {Deed::fork, "fork"}};
constexpr int kForks = 2;

bool perform(World& w, Deed deed) {
    switch (deed) {
        case Deed::hibernate: return w.hibernate().has_value();
        case Deed::wake: return w.awake().has_value();
        case Deed::snapshot: return w.io.run(w.workspaces->snapshot(kOwner, w.id, "more")).has_value();
        case Deed::restore: return w.io.run(w.workspaces->restore(kOwner, w.id, "then", std::nullopt)).has_value();
        case Deed::fork: return w.io.run(w.workspaces->fork(kOwner, w.id, kForks, {})).has_value();
    }
    return false;
}

std::vector<View> forks_of(World const& w) {
    std::vector<View> out;
    for (auto const& one : w.workspaces->list(kOwner))
        if (one.id != w.id) out.push_back(one);
    return out;
}

// Its workspace has a snapshot "then", files that say so, and memory that has counted one further since.
struct Scene {
    World w;
    int then = 0, counters = 0;
    std::string counter_then;

    Scene() {
        w.create();
        set_up();
    }
    void set_up() {
        w.count();
        mark("then");
        REQUIRE(w.io.run(w.workspaces->snapshot(kOwner, w.id, "then")));
        then = w.counted;
        counter_then = w.counter;
        w.count();
        mark("now");
    }
    void mark(std::string const& text) {
        auto lease = w.awake();
        REQUIRE(lease);
        REQUIRE(w.io.run(lease->guest().write_file("/workspace/mark", text)));
    }
    std::string marked() {
        auto lease = w.awake();
        REQUIRE_MESSAGE(lease, (lease ? "" : lease.error().message()));
        auto text = w.io.run(lease->guest().read_file("/workspace/mark", 100));
        REQUIRE_MESSAGE(text, (text ? "" : text.error().message()));
        return *text;
    }
    void prepare(Deed deed) {
        if (deed == Deed::wake) REQUIRE(w.hibernate());
        else REQUIRE(w.awake());
    }
    /// With its memory it goes on counting; files and memory are of one moment, which may be that of the snapshot.
    void has_its_memory(bool may_be_restored) {
        auto const text = marked();
        bool const restored = text == "then";
        CHECK((restored ? may_be_restored : text == "now"));
        if (restored) {
            w.counter = counter_then;
            w.counted = then;
            w.seen = 0;
            for (int i = 1; i <= then; ++i) w.seen += std::to_string(i).size() + 1;
        }
        w.count();
        if (restored) mark("now");
    }
    /// Only calls that meet the dying sandbox may fail: one that finds it dead does not.
    void reach() {
        for (int tries = 0;; ++tries) {
            auto lease = w.awake();
            auto answered = lease ? w.io.run(ask(*lease)) : base::Result<bool>(lease.error());
            if (answered) return;
            REQUIRE_MESSAGE(tries < 2, answered.error().message());
        }
    }
    static Task<Result<bool>> ask(Lease& lease) {
        auto answered = co_await lease.guest().ping();
        if (!answered) co_return answered.error();
        co_return true;
    }
    /// After its sandbox was killed: how it came back, if it had to.
    std::string opens(bool may_be_restored) {
        reach();
        auto const shown = w.view();
        bool const started = shown.fidelity == "files" && shown.generation != generation;
        generation = shown.generation;
        if (!started) {
            has_its_memory(may_be_restored);
            return "memory";
        }
        CHECK(shown.fidelity_reason != "");
        auto const text = marked();
        CHECK((text == "now" || (may_be_restored && text == "then")));
        w.start_counter("p-again" + std::to_string(++counters));
        REQUIRE(w.io.run(w.workspaces->delete_snapshot(kOwner, w.id, "then")));
        set_up();
        return "files (" + shown.fidelity_reason + ")";
    }
    /// What was made besides is whole, and goes.
    void tidy() {
        for (auto const& one : forks_of(w)) {
            auto const origin = std::exchange(w.id, one.id);
            reach();
            {
                auto lease = w.awake();
                REQUIRE(lease);
                CHECK(w.io.run(lease->guest().read_file("/workspace/kept", 10)).value() == "kept");
            }
            w.id = origin;
            REQUIRE(w.io.run(w.workspaces->remove(kOwner, one.id)));
        }
        auto const made = w.workspaces->snapshots(kOwner, w.id).value();
        for (auto const& one : made)
            if (one.name != "then") REQUIRE(w.io.run(w.workspaces->delete_snapshot(kOwner, w.id, one.name)));
    }
    static std::set<std::string> names(std::string const& directory) {
        std::set<std::string> out;
        std::error_code ec;
        for (fs::directory_iterator it(directory, ec), end; !ec && it != end; it.increment(ec)) out.insert(it->path().filename());
        return out;
    }
    /// Slots, volumes, images and mounts that nothing owns.
    std::string left_over() {
        std::set<std::string> volumes;
        int awake = 0;
        for (auto const& r : w.io.run(w.records->workspaces()).value()) {
            volumes.insert(r.volume);
            awake += r.state == "running";
        }
        for (auto const& s : w.io.run(w.records->snapshots()).value()) volumes.insert(s.volume);
        if (auto const there = names(w.directory + "/volumes"); there != volumes) {
            std::string text = "volumes";
            for (auto const& name : there) text += " " + name;
            return text;
        }
        auto const slots = names(w.directory + "/n/slots");
        if (static_cast<int>(slots.size()) != awake || w.sandboxes->running() != awake)
            return std::to_string(slots.size()) + " slots, " + std::to_string(w.sandboxes->running()) + " sandboxes for " +
                   std::to_string(awake) + " awake";
        auto const images = w.io.run(w.images->list("")).value();
        if (images.size() != w.recorded().size() || !names(w.directory + "/images/.aside").empty())
            return std::to_string(images.size()) + " images for " + std::to_string(w.recorded().size()) + " records";
        auto const mounts = base::read_file("/proc/self/mounts", 16 << 20).value();
        for (std::string const below : {"/volumes/", "/n/slots/"}) {
            auto const prefix = w.directory + below;
            auto const& known = below == "/volumes/" ? volumes : slots;
            for (auto at = mounts.find(prefix); at != mounts.npos; at = mounts.find(prefix, at + 1)) {
                auto const from = at + prefix.size();
                auto const name = mounts.substr(from, mounts.find_first_of("/ ", from) - from);
                if (!known.contains(name)) return "mount of " + name;
            }
        }
        return {};
    }
    void nothing_is_left() {
        CHECK(w.eventually([&] { return left_over().empty(); }));
        CHECK(left_over() == "");
    }
    /// The calls that a deed makes, in order.
    std::vector<std::string> steps_of(Deed deed) {
        std::vector<std::string> out;
        prepare(deed);
        w.steps.before = [&](std::string const& name) { out.push_back(name); };
        CHECK(perform(w, deed));
        w.steps = {};
        has_its_memory(deed == Deed::restore);
        tidy();
        nothing_is_left();
        return out;
    }

    std::uint64_t generation = 1;
};

// This program once more, as a server that does the deed and is killed before its call number `step`, or "middle": while the
// runtime writes or reads the image.
void run_killed(std::string const& directory, char const* deed, std::string const& step) {
    std::string const test = "--test-case=the server that is killed";
    char* argv[] = {const_cast<char*>("faults"), const_cast<char*>(test.c_str()), nullptr};
    std::vector<std::string> words;
    for (char** e = environ; *e; ++e) words.emplace_back(*e);
    words.push_back(std::string(kDirectory) + "=" + directory);
    words.push_back(std::string(kWhat) + "=" + deed);
    words.push_back(std::string(kStep) + "=" + step);
    std::vector<char*> environment;
    for (auto& word : words) environment.push_back(word.data());
    environment.push_back(nullptr);
    pid_t child = 0;
    REQUIRE(::posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, argv, environment.data()) == 0);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK_MESSAGE((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL), "it ended with " << status);
}

[[noreturn]] void die() {
    ::kill(::getpid(), SIGKILL);
    for (;;) ::pause();
}

// gVisor writes one such file, CRIU one for each process.
bool has_pages(std::string const& draft) {
    std::error_code ec;
    for (auto const& name : Scene::names(draft))
        if ((name == "pages.img" || name.starts_with("pages-")) && fs::file_size(draft + "/" + name, ec) > 0 && !ec) return true;
    return false;
}

// While the runtime writes an image, or reads one: a slot is no longer blank.
void die_in_the_middle(std::string const& directory, Deed deed) {
    bool const writes = deed == Deed::hibernate || deed == Deed::snapshot;
    std::thread([directory, writes] {
        std::set<std::string> blank;
        for (;; std::this_thread::sleep_for(std::chrono::microseconds(200))) {
            for (auto const& draft : Scene::names(directory + "/images/.aside"))
                if (writes && has_pages(directory + "/images/.aside/" + draft)) die();
            for (auto const& slot : Scene::names(directory + "/n/slots")) {
                auto const record = base::read_file(directory + "/n/slots/" + slot + "/slot.json");
                if (!record) continue;
                if (record->find("\"blank\":true") != record->npos) blank.insert(slot);
                else if (!writes && blank.contains(slot)) die();
            }
        }
    }).detach();
}

}  // namespace

TEST_CASE("the server that is killed" * doctest::skip(std::getenv(kDirectory) == nullptr)) {
    std::string const what = std::getenv(kWhat), step = std::getenv(kStep);
    World w(std::getenv(kDirectory));
    for (auto const& one : w.workspaces->list(kOwner)) w.id = one.id;
    for (auto const& [deed, name] : kDeeds) {
        if (what != name) continue;
        int left = step == kInTheMiddle ? -1 : std::atoi(step.c_str());
        if (left < 0) die_in_the_middle(w.directory, deed);
        else
            w.steps.before = [&](std::string const&) {
                if (left-- == 0) die();
            };
        (void)perform(w, deed);
    }
    die();
}

TEST_CASE("the server is killed at each step of") {
    BERTH_NEEDS_MEMORY();
    Scene scene;
    auto& w = scene.w;
    for (auto const& [deed, name] : kDeeds) {
        auto steps = scene.steps_of(deed);
        steps.push_back("the answer");
        for (std::size_t i = 0; i <= steps.size(); ++i) {
            auto const middle = i == steps.size();
            INFO(std::string(name) << ", " << (middle ? std::string("while the image is written or read") : "before: " + steps[i]));
            scene.prepare(deed);
            w.leave();
            run_killed(w.directory, name, middle ? kInTheMiddle : std::to_string(i));
            w.open();
            auto const state = w.view().state;
            CHECK((state == "running" || state == "hibernated"));
            auto const forks = forks_of(w).size();
            CHECK((forks == 0 || (deed == Deed::fork && forks == kForks)));
            scene.has_its_memory(deed == Deed::restore);
            scene.tidy();
            scene.nothing_is_left();
        }
        MESSAGE(std::string(name) << ": " << steps.size() + 1 << " kills");
    }
}

TEST_CASE("every sandbox is killed at each step of") {
    BERTH_NEEDS_MEMORY();
    Scene scene;
    auto& w = scene.w;
    for (auto const& [deed, name] : kDeeds) {
        auto const steps = scene.steps_of(deed);
        std::map<std::string, int> outcomes;
        for (std::size_t i = 0; i < steps.size(); ++i) {
            INFO(std::string(name) << ", before: " << steps[i]);
            scene.prepare(deed);
            std::size_t left = i;
            w.steps.before = [&](std::string const&) {
                if (left-- != 0) return;
                for (auto const& slot : Scene::names(w.directory + "/n/slots"))
                    if (auto const pid = base::read_file(w.directory + "/n/slots/" + slot + "/sentry.pid"))
                        ::kill(std::atoi(pid->c_str()), SIGKILL);
            };
            bool const done = perform(w, deed);
            w.steps = {};
            auto const forks = forks_of(w).size();
            if (deed == Deed::fork) CHECK(forks == (done ? kForks : 0));
            auto const how = scene.opens(deed == Deed::restore);
            ++outcomes[std::string(done ? "done, " : "failed, ") + how];
            scene.tidy();
            scene.nothing_is_left();
        }
        std::string told;
        for (auto const& [how, n] : outcomes) told += "; " + std::to_string(n) + " x " + how;
        MESSAGE(std::string(name) << told);
    }
}

TEST_CASE("a registry whose answer comes too late") {
    BERTH_NEEDS_MEMORY();
    struct {
        char const* late;
        std::function<bool(World&)> deed;
    } const cases[] = {
        {"registry: insert_workspaces", [](World& w) { return perform(w, Deed::fork); }},
        {"registry: insert_snapshot", [](World& w) { return perform(w, Deed::snapshot); }},
        {"registry: running and images", [](World& w) { return perform(w, Deed::restore); }},
        {"registry: hibernated and images", [](World& w) { return perform(w, Deed::hibernate); }},
        {"registry: insert_workspace",
         [](World& w) {
             CreateRequest request;
             request.files["kept"] = "kept";
             return w.io.run(w.workspaces->create(kOwner, std::move(request))).has_value();
         }},
    };
    Scene scene;
    auto& w = scene.w;
    for (auto const& [late, deed] : cases) {
        {
            INFO(std::string(late) << ", and is asked to take it back");
            w.steps.late = {late};
            CHECK_FALSE(deed(w));
            w.steps = {};
            CHECK(w.workspaces->list(kOwner).size() == 1);
            scene.has_its_memory(false);
            scene.nothing_is_left();
            w.crash();
            CHECK(w.workspaces->list(kOwner).size() == 1);
            CHECK(w.workspaces->snapshots(kOwner, w.id).value().size() == 1);
            scene.has_its_memory(false);
            scene.nothing_is_left();
        }
        {
            INFO(std::string(late) << ", and then no more");
            w.steps.late = {late};
            w.steps.before = [&, met = false](std::string const& name) mutable {
                if (met && name.starts_with("registry: ")) w.steps.dead = {name};
                met = met || name == late;
            };
            CHECK_FALSE(deed(w));
            CHECK(w.workspaces->list(kOwner).size() == 1);
            // What was committed is there at the next start, and whole.
            w.leave();
            w.steps = {};
            w.open();
            (void)scene.opens(true);
            scene.tidy();
            scene.nothing_is_left();
        }
    }
}
