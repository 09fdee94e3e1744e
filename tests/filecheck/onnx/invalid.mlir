// RUN: attnc-opt %s --allow-unregistered-dialect --verify-diagnostics --split-input-file | filecheck %s

// CHECK: input 1 ('B') is missing
%a = "test.op"() : () -> tensor<4xf32>
%0 = onnx.Add(%a) -> ["y"] since 14 : (tensor<4xf32>) -> tensor<4xf32>

// -----

// CHECK: 3 inputs, at most 2 are allowed
%a = "test.op"() : () -> tensor<4xf32>
%0 = onnx.Add(%a, %a, %a) -> ["y"] since 14 : (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>

// -----

// CHECK: the required attribute 'axis' is missing
%a = "test.op"() : () -> tensor<4xf32>
%0 = onnx.Concat(%a, %a) -> ["y"] since 13 : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>

// -----

// CHECK: the attribute 'axis' is FLOAT, not INT
%a = "test.op"() : () -> tensor<4xf32>
%0 = onnx.Softmax(%a) {axis = 1.0 : f32} -> ["y"] since 13 : (tensor<4xf32>) -> tensor<4xf32>

// -----

// CHECK: there is no attribute 'axes' in ReduceSum-13
%a = "test.op"() : () -> tensor<4xf32>
%0 = onnx.ReduceSum(%a) {axes = array<i64: 0>} -> ["y"] since 13 : (tensor<4xf32>) -> tensor<1xf32>

// -----

// CHECK: 2 output names for 1 results
%a = "test.op"() : () -> tensor<4xf32>
%0 = onnx.Relu(%a) -> ["y", "z"] since 14 : (tensor<4xf32>) -> tensor<4xf32>

// -----

// CHECK: a constant tensor<3xi64> is a reference or dense of that very type
%0 = "onnx.Constant"() <{value = dense<1> : tensor<2xi64>}> : () -> tensor<3xi64>
