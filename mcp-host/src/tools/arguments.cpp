#include "arguments.hpp"
#include <config/settings.hpp>

#include <algorithm>
#include <cmath>

namespace host {
namespace {

using Type = Field::Type;

std::string expected(Field const& f) {
    std::string text;
    switch (f.type) {
        case Type::string:
            text = "a string";
            break;
        case Type::integer:
            text = "an integer";
            break;
        case Type::number:
            text = "a number";
            break;
        case Type::boolean:
            text = "true or false";
            break;
        case Type::strings:
            text = "an array of strings";
            break;
        case Type::string_map:
            text = "an object of strings";
            break;
        case Type::objects:
            text = "an array of objects";
            break;
        case Type::object:
            text = "an object";
            break;
    }
    if (!f.values.empty()) {
        text = "one of";
        for (auto const& v : f.values) text += (&v == f.values.data() ? " \"" : ", \"") + v + "\"";
    }
    if (f.minimum && f.maximum)
        text += " from " + config::show_number(*f.minimum) + " to " + config::show_number(*f.maximum);
    else if (f.minimum)
        text += " of at least " + config::show_number(*f.minimum);
    if (!f.example.is_null()) text += ", for example " + base::dump(f.example);
    return text;
}

bool all_strings(Json const& items) {
    return std::all_of(items.begin(), items.end(), [](Json const& v) { return v.is_string(); });
}

bool fits(Field const& f, Json const& v) {
    switch (f.type) {
        case Type::string:
            return v.is_string() && v.get_ref<std::string const&>().size() <= f.max_length &&
                   (f.values.empty() || std::find(f.values.begin(), f.values.end(),
                                                  v.get_ref<std::string const&>()) != f.values.end());
        case Type::integer:
            if (v.is_number_float()) {  // 50.0 is an integer in JSON Schema
                double const d = v.get<double>();
                if (d != std::trunc(d) || std::abs(d) > 9e15) return false;    // beyond that, doubles skip integers
            } else if (!v.is_number_integer()) {
                return false;
            }
            [[fallthrough]];
        case Type::number: {
            if (!v.is_number()) return false;
            double const d = v.get<double>();
            return (!f.minimum || d >= *f.minimum) && (!f.maximum || d <= *f.maximum);
        }
        case Type::boolean:
            return v.is_boolean();
        case Type::strings:
            return v.is_array() && all_strings(v);
        case Type::string_map:
            return v.is_object() && all_strings(v);
        case Type::objects:
            return v.is_array() &&
                   std::all_of(v.begin(), v.end(), [](Json const& o) { return o.is_object(); });
        case Type::object:
            return v.is_object();
    }
    return false;
}

Json checked(std::vector<Field> const& fields, Json given, std::string const& prefix) {
    Json out = Json::object();
    for (auto& [key, value] : given.items()) {
        auto const f = std::find_if(fields.begin(), fields.end(), [&](Field const& x) {
            return x.name == key || std::find(x.aliases.begin(), x.aliases.end(), key) != x.aliases.end();
        });
        if (f == fields.end()) {
            std::string known;
            for (auto const& x : fields) known += (known.empty() ? "" : ", ") + x.name;
            throw BadArgument(prefix + key.substr(0, 80) + ": unknown argument; expected " + known);
        }
        if (value.is_null()) continue;
        if (!fits(*f, value)) throw BadArgument(prefix + f->name + ": expected " + expected(*f));
        if (f->type == Type::object && !f->fields.empty())
            value = checked(f->fields, std::move(value), prefix + f->name + ".");
        if (f->type == Type::objects && !f->fields.empty())
            for (std::size_t i = 0; i < value.size(); ++i)
                value[i] = checked(f->fields, std::move(value[i]),
                                   prefix + f->name + "[" + std::to_string(i) + "].");
        out[f->name] = std::move(value);
    }
    for (auto const& f : fields)
        if (f.required && !out.contains(f.name))
            throw BadArgument(prefix + f.name + ": missing; expected " + expected(f));
    return out;
}

}  // namespace

Json schema_of(std::vector<Field> const& fields) {
    Json properties = Json::object(), required = Json::array();
    for (auto const& f : fields) {
        Json p;
        switch (f.type) {
            case Type::string:
                p["type"] = "string";
                break;
            case Type::integer:
                p["type"] = "integer";
                break;
            case Type::number:
                p["type"] = "number";
                break;
            case Type::boolean:
                p["type"] = "boolean";
                break;
            case Type::strings:
                p = {{"type", "array"}, {"items", {{"type", "string"}}}};
                break;
            case Type::string_map:
                p = {{"type", "object"}, {"additionalProperties", {{"type", "string"}}}};
                break;
            case Type::objects:
                p = {{"type", "array"}, {"items", schema_of(f.fields)}};
                break;
            case Type::object:
                p = schema_of(f.fields);
                break;
        }
        if (!f.description.empty()) p["description"] = f.description;
        if (!f.values.empty()) p["enum"] = f.values;
        bool const whole = f.type == Type::integer;
        if (f.minimum) p["minimum"] = whole ? Json(static_cast<std::int64_t>(*f.minimum)) : Json(*f.minimum);
        if (f.maximum) p["maximum"] = whole ? Json(static_cast<std::int64_t>(*f.maximum)) : Json(*f.maximum);
        properties[f.name] = std::move(p);
        if (f.required) required.push_back(f.name);
    }
    Json schema = {{"type", "object"}, {"properties", std::move(properties)}};
    if (!required.empty()) schema["required"] = std::move(required);
    return schema;
}

Arguments::Arguments(std::vector<Field> const& fields, Json given)
    : values_(checked(fields, std::move(given), "")) {}

std::string Arguments::string(std::string const& name, std::string fallback) const {
    return values_.value(name, std::move(fallback));
}
std::int64_t Arguments::integer(std::string const& name, std::int64_t fallback) const {
    return has(name) ? static_cast<std::int64_t>(values_[name].get<double>()) : fallback;
}
double Arguments::number(std::string const& name, double fallback) const {
    return values_.value(name, fallback);
}
bool Arguments::boolean(std::string const& name, bool fallback) const {
    return values_.value(name, fallback);
}
std::vector<std::string> Arguments::strings(std::string const& name) const {
    return has(name) ? values_[name].get<std::vector<std::string>>() : std::vector<std::string>{};
}
std::map<std::string, std::string> Arguments::string_map(std::string const& name) const {
    return has(name) ? values_[name].get<std::map<std::string, std::string>>()
                     : std::map<std::string, std::string>{};
}
Json const& Arguments::raw(std::string const& name) const {
    static Json const null;
    auto const it = values_.find(name);
    return it == values_.end() ? null : *it;
}

}  // namespace host
