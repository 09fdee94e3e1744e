// RUN: attnc-opt %s | attnc-opt | filecheck %s
// RUN: attnc-opt %s --print-op-generic | attnc-opt | filecheck %s

func.func @main(%order: tensor<17xi32>, %q: tensor<1x4x17x16xf32>, %kv: tensor<1x2x17x16xf32>, %mask: tensor<1x1x17x17xf32>, %truth: tensor<17x17xi1>, %q8: tensor<1x4x17x16xi8>, %kv8: tensor<1x2x17x16xi8>, %rows: tensor<1x4x17x1xf32>, %shared: tensor<1x2x17x1xf32>, %columns: tensor<1x2x1x16xf32>, %step: tensor<1x1x1x1xf32>, %offset: tensor<1x2x1x16xi32>, %taken: tensor<1x4x17x1xi32>, %bits: tensor<1x1x17x17xi1>, %steps: tensor<1x4x1x3xf32>, %high: tensor<1x2x17x16x!bnn.int<4>>, %low: tensor<1x2x17x16x!bnn.uint<4>>) {
  // CHECK: sattn.attention q %{{.*}} k %{{.*}} v %{{.*}} scale 2.500000e-01 : (tensor<1x4x17x16xf32>, tensor<1x2x17x16xf32>, tensor<1x2x17x16xf32>) -> tensor<1x4x17x16xf32>
  %0 = sattn.attention q %q k %kv v %kv scale 2.500000e-01 : (tensor<1x4x17x16xf32>, tensor<1x2x17x16xf32>, tensor<1x2x17x16xf32>) -> tensor<1x4x17x16xf32>
  // CHECK-NEXT: sattn.attention q %{{.*}} k %{{.*}} v %{{.*}} mask %{{.*}} : tensor<1x1x17x17xf32> scale 2.500000e-01 empty_row zero : (
  %1 = sattn.attention q %q k %kv v %kv mask %mask : tensor<1x1x17x17xf32> scale 2.500000e-01 empty_row zero : (tensor<1x4x17x16xf32>, tensor<1x2x17x16xf32>, tensor<1x2x17x16xf32>) -> tensor<1x4x17x16xf32>
  // CHECK-NEXT: sattn.attention q %{{.*}} k %{{.*}} v %{{.*}} mask %{{.*}} : tensor<17x17xi1> scale 2.500000e-01 causal offset 2 fill -1.000000e+09 softcap 5.000000e+01 empty_row uniform : (
  %2 = sattn.attention q %q k %kv v %kv mask %truth : tensor<17x17xi1> scale 2.500000e-01 causal offset 2 fill -1.000000e+09 softcap 5.000000e+01 empty_row uniform : (tensor<1x4x17x16xf32>, tensor<1x2x17x16xf32>, tensor<1x2x17x16xf32>) -> tensor<1x4x17x16xf32>
  // CHECK-NEXT: sattn.attention q %{{.*}} k %{{.*}} v %{{.*}} q_scale %{{.*}} : tensor<1x4x17x1xf32> k_scale %{{.*}} : tensor<1x2x17x1xf32> v_scale %{{.*}} : tensor<1x2x1x16xf32> scale 2.500000e-01 : (tensor<1x4x17x16xi8>, tensor<1x2x17x16xi8>, tensor<1x2x17x16xi8>) -> tensor<1x4x17x16xf32>
  %3 = sattn.attention q %q8 k %kv8 v %kv8 q_scale %rows : tensor<1x4x17x1xf32> k_scale %shared : tensor<1x2x17x1xf32> v_scale %columns : tensor<1x2x1x16xf32> scale 2.500000e-01 : (tensor<1x4x17x16xi8>, tensor<1x2x17x16xi8>, tensor<1x2x17x16xi8>) -> tensor<1x4x17x16xf32>
  // CHECK-NEXT: sattn.attention q %{{.*}} p_scale %{{.*}} : tensor<1x1x1x1xf32> p_zero_point -128 v_offset %{{.*}} : tensor<1x2x1x16xi32> scale 2.500000e-01 : (tensor<1x4x17x16xi8>
  %4 = sattn.attention q %q8 k %kv8 v %kv8 q_scale %rows : tensor<1x4x17x1xf32> k_scale %shared : tensor<1x2x17x1xf32> v_scale %columns : tensor<1x2x1x16xf32> p_scale %step : tensor<1x1x1x1xf32> p_zero_point -128 v_offset %offset : tensor<1x2x1x16xi32> scale 2.500000e-01 : (tensor<1x4x17x16xi8>, tensor<1x2x17x16xi8>, tensor<1x2x17x16xi8>) -> tensor<1x4x17x16xf32>
  // CHECK-NEXT: sattn.attention q %{{.*}} v_scale %{{.*}} : tensor<1x2x1x16xf32> key_block 8 scale 2.500000e-01 : (tensor<1x4x17x16xi8>
  %5 = sattn.attention q %q8 k %kv8 v %kv8 q_scale %rows : tensor<1x4x17x1xf32> k_scale %shared : tensor<1x2x17x1xf32> v_scale %columns : tensor<1x2x1x16xf32> key_block 8 scale 2.500000e-01 : (tensor<1x4x17x16xi8>, tensor<1x2x17x16xi8>, tensor<1x2x17x16xi8>) -> tensor<1x4x17x16xf32>
  // CHECK-NEXT: sattn.attention q %{{.*}} p_scale %{{.*}} : tensor<1x1x1x1xf32> q_offset %{{.*}} : tensor<1x4x17x1xi32> v_zero_point 7 scale 2.500000e-01 : (tensor<1x4x17x16xi8>
  %6 = sattn.attention q %q8 k %kv8 v %kv8 q_scale %rows : tensor<1x4x17x1xf32> k_scale %shared : tensor<1x2x17x1xf32> v_scale %columns : tensor<1x2x1x16xf32> p_scale %step : tensor<1x1x1x1xf32> q_offset %taken : tensor<1x4x17x1xi32> v_zero_point 7 scale 2.500000e-01 : (tensor<1x4x17x16xi8>, tensor<1x2x17x16xi8>, tensor<1x2x17x16xi8>) -> tensor<1x4x17x16xf32>
  // CHECK-NEXT: sattn.attention q %{{.*}} k %{{.*}} v %{{.*}} form "window:4,global:1" scale 2.500000e-01 : (
  %7 = sattn.attention q %q k %kv v %kv form "window:4,global:count=1" scale 2.500000e-01 : (tensor<1x4x17x16xf32>, tensor<1x2x17x16xf32>, tensor<1x2x17x16xf32>) -> tensor<1x4x17x16xf32>
  // CHECK-NEXT: sattn.attention q %{{.*}} k %{{.*}} v %{{.*}} order %{{.*}} : tensor<17xi32> form "window:4" scale 2.500000e-01 : (
  %ordered = sattn.attention q %q k %kv v %kv order %order : tensor<17xi32> form "window:4" scale 2.500000e-01 : (tensor<1x4x17x16xf32>, tensor<1x2x17x16xf32>, tensor<1x2x17x16xf32>) -> tensor<1x4x17x16xf32>
  // CHECK-NEXT: sattn.attention q %{{.*}} k %{{.*}} v %{{.*}} pattern %{{.*}} : tensor<1x1x17x17xi1> form ["bitmap", "dense", "window:3,dilation=2", "causal"] scale 2.500000e-01 : (
  %8 = sattn.attention q %q k %kv v %kv pattern %bits : tensor<1x1x17x17xi1> form ["bitmap", "dense", "window:3,dilation=2", "causal"] scale 2.500000e-01 : (tensor<1x4x17x16xf32>, tensor<1x2x17x16xf32>, tensor<1x2x17x16xf32>) -> tensor<1x4x17x16xf32>
  // CHECK-NEXT: sattn.attention q %{{.*}} p_thresholds %{{.*}} : tensor<1x4x1x3xf32> p_levels 3 weights scores scale 2.500000e-01 : (tensor<1x4x17x16xi8>
  %9 = sattn.attention q %q8 k %kv8 v %kv8 q_scale %rows : tensor<1x4x17x1xf32> k_scale %shared : tensor<1x2x17x1xf32> v_scale %columns : tensor<1x2x1x16xf32> p_thresholds %steps : tensor<1x4x1x3xf32> p_levels 3 weights scores scale 2.500000e-01 : (tensor<1x4x17x16xi8>, tensor<1x2x17x16xi8>, tensor<1x2x17x16xi8>) -> tensor<1x4x17x16xf32>
  // CHECK-NEXT: sattn.attention q %{{.*}} p_scale %{{.*}} : tensor<1x1x1x1xf32> p_levels 15 scale 2.500000e-01 : (tensor<1x4x17x16xi8>
  %10 = sattn.attention q %q8 k %kv8 v %kv8 q_scale %rows : tensor<1x4x17x1xf32> k_scale %shared : tensor<1x2x17x1xf32> v_scale %columns : tensor<1x2x1x16xf32> p_scale %step : tensor<1x1x1x1xf32> p_levels 15 scale 2.500000e-01 : (tensor<1x4x17x16xi8>, tensor<1x2x17x16xi8>, tensor<1x2x17x16xi8>) -> tensor<1x4x17x16xf32>
  // CHECK-NEXT: %{{.*}}, %{{.*}} = sattn.attention q %{{.*}} -> tensor<1x4x17x16xf32> importance tensor<1x17xf32>
  %11, %12 = sattn.attention q %q k %kv v %kv scale 2.500000e-01 : (tensor<1x4x17x16xf32>, tensor<1x2x17x16xf32>, tensor<1x2x17x16xf32>) -> tensor<1x4x17x16xf32> importance tensor<1x17xf32>
  // CHECK-NEXT: sattn.attention q %{{.*}} k %{{.*}} v %{{.*}} k_low %{{.*}} : tensor<1x2x17x16x!bnn.uint<4>> form "progressive:threshold=0.2" scale
  %13 = sattn.attention q %q8 k %high v %kv8 q_scale %rows : tensor<1x4x17x1xf32> k_scale %shared : tensor<1x2x17x1xf32> v_scale %columns : tensor<1x2x1x16xf32> k_low %low : tensor<1x2x17x16x!bnn.uint<4>> form "progressive:threshold=0.2" scale 2.500000e-01 : (tensor<1x4x17x16xi8>, tensor<1x2x17x16x!bnn.int<4>>, tensor<1x2x17x16xi8>) -> tensor<1x4x17x16xf32>
  func.return
}
