#pragma once
// What a workspace's life writes to, step by step: each call is announced before it is made, may be made to fail, and may
// lose its answer.
#include <registry/registry.hpp>
#include <sandbox/image_store.hpp>
#include <workspace/volume.hpp>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>

namespace life_test {

using base::Result;
using base::Status;
using base::Task;

struct Steps {
    std::function<void(std::string const&)> before;    ///< each call, by its name: "insert_workspaces"
    std::set<std::string> late;    ///< done, but the answer to the next one does not come in time
    std::set<std::string> dead;    ///< not done, no answer either

    static base::Error no_answer() { return base::error(base::errc::timed_out, "no answer in time"); }
    template <class T>
    Task<T> step(std::string name, Task<T> call) {
        if (before) before(name);
        if (dead.contains(name)) co_return no_answer();
        auto answer = co_await std::move(call);
        if (late.erase(name) > 0) co_return no_answer();
        co_return answer;
    }
};

class WatchedRecords final : public registry::Registry {
  public:
    WatchedRecords(std::unique_ptr<registry::Registry> inner, Steps& steps) : inner_(std::move(inner)), steps_(steps) {}

    Task<Status> insert_workspace(registry::WorkspaceRecord r) override {
        return steps_.step("registry: insert_workspace", inner_->insert_workspace(std::move(r)));
    }
    Task<Status> insert_workspaces(std::vector<registry::WorkspaceRecord> all) override {
        return steps_.step("registry: insert_workspaces", inner_->insert_workspaces(std::move(all)));
    }
    Task<Status> update_workspace(registry::WorkspaceRecord r) override {
        auto name = "registry: " + r.state;
        return steps_.step(std::move(name), inner_->update_workspace(std::move(r)));
    }
    Task<Status> update_workspace_images(registry::WorkspaceRecord r, registry::ImageChange change) override {
        auto name = "registry: " + r.state + " and images";
        return steps_.step(std::move(name), inner_->update_workspace_images(std::move(r), std::move(change)));
    }
    Task<Status> change_images(std::string workspace, registry::ImageChange change) override {
        return steps_.step("registry: change_images", inner_->change_images(std::move(workspace), std::move(change)));
    }
    Task<Result<std::vector<registry::ImageRecord>>> images() override { return inner_->images(); }
    void touch_workspace_lazy(std::string id, std::int64_t ms) override { inner_->touch_workspace_lazy(std::move(id), ms); }
    Task<Status> delete_workspace(std::string id) override {
        return steps_.step("registry: delete_workspace", inner_->delete_workspace(std::move(id)));
    }
    Task<Result<std::vector<registry::WorkspaceRecord>>> workspaces() override { return inner_->workspaces(); }
    Task<Status> insert_snapshot(registry::SnapshotRecord r, std::optional<registry::ImageRecord> image) override {
        return steps_.step("registry: insert_snapshot", inner_->insert_snapshot(std::move(r), std::move(image)));
    }
    Task<Status> delete_snapshot(std::string id) override {
        return steps_.step("registry: delete_snapshot", inner_->delete_snapshot(std::move(id)));
    }
    Task<Result<std::vector<registry::SnapshotRecord>>> snapshots() override { return inner_->snapshots(); }
    void put_process_lazy(registry::ProcessRecord r) override { inner_->put_process_lazy(std::move(r)); }
    Task<Status> put_processes(std::vector<registry::ProcessRecord> all) override {
        return steps_.step("registry: put_processes", inner_->put_processes(std::move(all)));
    }
    Task<Result<std::optional<registry::ProcessRecord>>> process(std::string id) override {
        return inner_->process(std::move(id));
    }
    Task<Result<std::vector<registry::ProcessRecord>>> processes_of(std::string workspace, std::size_t limit) override {
        return inner_->processes_of(std::move(workspace), limit);
    }
    Task<Result<std::vector<registry::ToolPin>>> tool_pins(std::string server) override {
        return inner_->tool_pins(std::move(server));
    }
    Task<Status> put_tool_pins(std::vector<registry::ToolPin> pins) override { return inner_->put_tool_pins(std::move(pins)); }
    Task<Result<std::optional<registry::ServerOffer>>> server_offer(std::string server) override {
        return inner_->server_offer(std::move(server));
    }
    Task<Status> put_server_offer(std::string server, registry::ServerOffer offer) override {
        return inner_->put_server_offer(std::move(server), std::move(offer));
    }
    Task<Status> forget_server(std::string server) override { return inner_->forget_server(std::move(server)); }
    Task<Status> put_preview(registry::PreviewRecord r) override { return inner_->put_preview(std::move(r)); }
    Task<Status> delete_preview(std::string id) override { return inner_->delete_preview(std::move(id)); }
    Task<Result<std::vector<registry::PreviewRecord>>> previews() override { return inner_->previews(); }
    void audit_lazy(std::string workspace, std::string what, base::Json detail) override {
        inner_->audit_lazy(std::move(workspace), std::move(what), std::move(detail));
    }
    Task<Result<base::Json>> recent_audit(std::string workspace, std::size_t limit) override {
        return inner_->recent_audit(std::move(workspace), limit);
    }
    Task<Result<std::string>> secret(std::string name, std::size_t bytes) override {
        return inner_->secret(std::move(name), bytes);
    }
    Task<void> close() override { return inner_->close(); }

  private:
    std::unique_ptr<registry::Registry> inner_;
    Steps& steps_;
};

class WatchedVolumes final : public workspace::VolumeStore {
  public:
    WatchedVolumes(std::unique_ptr<workspace::VolumeStore> inner, Steps& steps) : inner_(std::move(inner)), steps_(steps) {}

    Task<Result<std::shared_ptr<workspace::Volume>>> create(std::string id, std::uint64_t bytes) override {
        return inner_->create(std::move(id), bytes);
    }
    Task<Result<std::shared_ptr<workspace::Volume>>> take(std::uint64_t bytes) override { return inner_->take(bytes); }
    Task<Result<std::shared_ptr<workspace::Volume>>> open_volume(std::string id) override {
        return steps_.step("open volume", inner_->open_volume(std::move(id)));
    }
    Task<Result<workspace::VolumeCopy>> clone(std::string from, std::string to, base::milliseconds limit) override {
        return steps_.step("clone volume", inner_->clone(std::move(from), std::move(to), limit));
    }
    Task<Status> release(std::string id) override { return inner_->release(std::move(id)); }
    Task<Status> remove(std::string id) override { return steps_.step("remove volume", inner_->remove(std::move(id))); }
    Result<workspace::VolumeUsage> usage_of(std::string const& id) const override { return inner_->usage_of(id); }
    Task<int> recover(std::set<std::string> known) override { return inner_->recover(std::move(known)); }
    void start_stocking() override { inner_->start_stocking(); }
    std::size_t stocked() const override { return inner_->stocked(); }
    Task<void> stop(bool unmount_all) override { return inner_->stop(unmount_all); }
    bool quota_enforced() const override { return inner_->quota_enforced(); }

  private:
    std::unique_ptr<workspace::VolumeStore> inner_;
    Steps& steps_;
};

class WatchedImages final : public sandbox::ImageStore {
  public:
    WatchedImages(std::unique_ptr<sandbox::ImageStore> inner, Steps& steps) : inner_(std::move(inner)), steps_(steps) {}
    std::optional<base::Error> begin_fails, publish_fails, open_fails;
    int opened = 0;

    Task<Result<sandbox::ImageDraft>> begin(sandbox::ImageRef ref, std::uint64_t bytes) override {
        if (begin_fails) return fail<sandbox::ImageDraft>(*begin_fails);
        return steps_.step("begin image", inner_->begin(std::move(ref), bytes));
    }
    Task<Result<sandbox::ImageInfo>> publish(sandbox::ImageDraft draft, sandbox::ImageFacts facts) override {
        if (publish_fails) return fail<sandbox::ImageInfo>(*publish_fails);
        return steps_.step("publish image", inner_->publish(std::move(draft), std::move(facts)));
    }
    Task<void> discard(sandbox::ImageDraft draft) override { return inner_->discard(std::move(draft)); }
    Task<Result<sandbox::OpenImage>> open(sandbox::ImageRef ref, sandbox::ImageFacts here) override {
        ++opened;
        if (open_fails) return fail<sandbox::OpenImage>(*open_fails);
        return steps_.step("open image", inner_->open(std::move(ref), std::move(here)));
    }
    Task<Result<sandbox::ImageInfo>> clone(sandbox::ImageRef from, sandbox::ImageRef to) override {
        return steps_.step("clone image", inner_->clone(std::move(from), std::move(to)));
    }
    Task<Status> remove(std::string workspace, std::string image) override {
        return steps_.step("remove image", inner_->remove(std::move(workspace), std::move(image)));
    }
    Task<Status> remove_workspace(std::string workspace) override {
        return steps_.step("remove images", inner_->remove_workspace(std::move(workspace)));
    }
    Task<Result<std::vector<sandbox::ImageInfo>>> list(std::string workspace) override {
        return inner_->list(std::move(workspace));
    }
    Task<Result<int>> sweep() override { return inner_->sweep(); }
    Use use() const override { return inner_->use(); }

  private:
    template <class T>
    static Task<Result<T>> fail(base::Error why) {
        co_return why;
    }

    std::unique_ptr<sandbox::ImageStore> inner_;
    Steps& steps_;
};

}  // namespace life_test
